"""What a request is and how an onion runs; it knows no framework."""
