// Command raw is a line server that holds thousands of idle connections. It
// takes its socket from descriptor 3, knows of no protocol around it, and ends at
// once on SIGTERM. To "GET ..." it answers as HTTP would and closes; every other
// line comes back after the name of who answered.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatalf("descriptor 3: %v", err)
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer c.Close()
	gen := os.Getenv("GRACEFLEET_GENERATION")
	who := fmt.Sprintf("gen=%s version=%s pid=%d", gen, version, os.Getpid())
	// A small buffer: there may be thousands of them.
	in := bufio.NewReaderSize(c, 256)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "GET ") {
			answerHTTP(c, in, gen, who)
			return
		}
		if _, err := fmt.Fprintf(c, "%s %s", who, line); err != nil {
			return
		}
	}
}

func answerHTTP(c net.Conn, in *bufio.Reader, gen, who string) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Generation: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n", gen, len(who)+1, who)
}
