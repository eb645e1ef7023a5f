"""The API that users write and read: pydantic models, and the custom resource definitions made from them."""
