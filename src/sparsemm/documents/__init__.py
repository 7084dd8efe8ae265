"""Generated document images with words and boxes, and checks of boxes. Works without torch."""
