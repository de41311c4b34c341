// Command bad is a web service with one bad habit, chosen by -mode. Apart from
// that it is like any other: a socket from descriptor 3, READY=1 once it serves.
//
//   - main.go: the service
//   - modes.go: the habits
package main
