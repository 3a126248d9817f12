terraform {
  required_version = ">= 1.9" # validation of a variable that reads another variable

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.35, < 7.0" # key_schema of an index; validated against the schema of 6.69.1
    }
  }
}
