"""Study: benchmark taggers, build instruction data, fine-tune with LoRA."""
