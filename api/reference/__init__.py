"""The API's reference page, from our own host: Swagger UI over /openapi.json."""
