"""The sections of the page on which a person brings a model and data of their own."""
