"""Write docs/openapi.json and docs/http.md out of the code that serves."""

from scripts.openapi.write import main

if __name__ == "__main__":
    main()
