"""DynamoDB: the record of every picture and every user."""
