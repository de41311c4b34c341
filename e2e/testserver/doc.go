// Package testserver holds the services that the end-to-end tests and the demo
// run, each a program in a folder of its own:
//
//   - runtime: on the gracefleet library
//   - unixhttp, udp: the same behind a unix socket, and with datagrams
//   - plain: ordinary Go, that calls http.Server.Shutdown at once on SIGTERM
//   - raw: a line server that knows of descriptor 3 and nothing else
//   - foreign: sockets and signals as other restart libraries have them
//   - bad: one bad habit at a time
//
// All name themselves "gen=N version=V pid=P", over HTTP also in the header
// X-Generation. The version is set by -ldflags "-X main.version=V".
package testserver
