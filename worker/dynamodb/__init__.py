"""DynamoDB: reads and writes of the table that holds every image and every user's profile."""
