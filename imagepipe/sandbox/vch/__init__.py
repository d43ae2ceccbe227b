"""A stand-in of VMware VIC's Virtual Container Host: VIC's manners in front of a real dockerd."""
