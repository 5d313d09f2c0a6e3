"""The conditional DCGAN: networks, losses, augmentation, training loop, checkpoint, sampling."""
