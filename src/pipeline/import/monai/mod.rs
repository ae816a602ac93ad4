//! A MONAI bundle as a model and a pipeline.
