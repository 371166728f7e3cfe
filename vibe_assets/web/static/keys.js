// Which hotkey was pressed, on any keyboard layout.

// Digits by their place: AZERTY and others print something else there without Shift. Letters and marks as printed, so that "a" is the key with
// an A on it on AZERTY and Dvorak too; by their place where the key gives no Latin character (Russian, Greek, Arabic, an input method).
export function hotkey(event) {
  const [, row, place] = /^(Digit|Key)([0-9A-Z])$/.exec(event.code) ?? [];
  if (row === "Digit" && !event.shiftKey) return place;
  if (row === "Key" && !/^[!-~]$/.test(event.key)) return place.toLowerCase();
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}
