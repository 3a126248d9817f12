"""DynamoDB adapters: read and write the table that holds every image and every user's profile."""
