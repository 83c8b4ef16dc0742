"""Training, evaluation and export of the emotion networks that fer_perception serves.

Labels, preprocessing and the bundle format are imported from fer_perception, so that they cannot differ between
training and serving.
"""
