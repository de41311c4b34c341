// Command udp echoes datagrams, each with the name of who answered in front. It
// takes its socket from the gracefleet library.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	gracefleet "github.com/gracefleet/gracefleet/runtime"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	name := flag.String("socket", "udp", "name of the socket to serve")
	listen := flag.String("listen", "127.0.0.1:8053", "address to serve when no parent holds the socket")
	flag.Parse()
	svc, err := gracefleet.Start(gracefleet.Options{Logf: log.Printf})
	check(err)
	pc, err := svc.ListenPacket(*name, "udp", *listen)
	check(err)
	done := svc.Track("udp")
	go func() {
		defer done()
		check(echo(pc, svc.Generation()))
	}()
	check(svc.Ready())
	<-svc.Draining()
	// What is queued is still answered: nothing new is steered here by now.
	check(pc.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
	check(svc.Wait())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func echo(pc net.PacketConn, generation int) error {
	who := fmt.Sprintf("gen=%d version=%s pid=%d ", generation, version, os.Getpid())
	buf := make([]byte, 65536)
	for {
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := pc.WriteTo(append([]byte(who), buf[:n]...), from); err != nil {
			return err
		}
	}
}
