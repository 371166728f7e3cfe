"""One dynamic partition per photo folder; its keys are made by photos.folder_key."""

import dagster as dg

folders = dg.DynamicPartitionsDefinition(name="photo_folders")
