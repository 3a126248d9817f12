"""What the service is measured against, and how: rivals, their work, and what it costs them."""
