// Package rules holds the project to its own rules: tests alone, nothing to
// import.
//
//   - list_test.go: what the go command knows of the module's packages
//   - imports_test.go: which package may import what
//   - pure_test.go: which packages keep away from the clock and the system
//   - form_test.go: package comments, names and lengths
//   - platform_test.go: what builds for other systems
//   - security_test.go: that the threat model names tests that exist
package rules
