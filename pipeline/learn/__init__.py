"""The downstream classifier and the semi-supervised GAN: build, train, predict."""
