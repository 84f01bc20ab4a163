//! Nothing: the package has one test, which runs after those of all other packages.
