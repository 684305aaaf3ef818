from probe_lib import main

if __name__ == "__main__":
    main()
