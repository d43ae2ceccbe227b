"""Harbor's administration in its dialects, one wire format per room; `administration` opens the one that is there."""
