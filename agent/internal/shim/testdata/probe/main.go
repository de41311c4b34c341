// Command probe is a service for tests. Its first argument is what to do.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	mode := "serve"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "serve":
		serve()
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		notify("STATUS=last words")
		os.Exit(code)
	case "grandchild":
		term := terminated()
		child := exec.Command("/proc/self/exe", "notify", "READY=1")
		if err := child.Run(); err != nil {
			panic(err)
		}
		notify("STATUS=child said it")
		<-term
	case "notify":
		notify(os.Args[2])
	case "tree":
		tree(os.Args[2])
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		os.WriteFile(os.Args[2], []byte(strconv.Itoa(os.Getpid())), 0o644)
		notifyAs("STUBBORN", os.Args[2])
		select {}
	case "count":
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, syscall.SIGUSR1)
		notify("READY=1")
		for n := 1; ; n++ {
			<-signals
			notify("STATUS=" + strconv.Itoa(n))
		}
	case "peer":
		peer(os.Args[2])
	case "parent":
		term := terminated()
		notify("READY=1")
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR2} {
			syscall.Kill(os.Getppid(), sig)
		}
		<-term
	}
}

// tree double-forks a process, in a session of its own, that ignores TERM.
func tree(pidfile string) {
	term := terminated()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	syscall.Mkfifo(pidfile+".fifo", 0o600)
	child := exec.Command("/bin/sh", "-c", `setsid "$0" stubborn "$1" & exit 0`, self, pidfile)
	if err := child.Run(); err != nil {
		panic(err)
	}
	f, err := os.Open(pidfile + ".fifo")
	if err != nil {
		panic(err)
	}
	bufio.NewReader(f).ReadString('\n')
	notify("READY=1")
	<-term
}

// peer prints what a shim says to whoever connects, until it hangs up.
func peer(path string) {
	conn, err := net.Dial("unixpacket", path)
	if err != nil {
		panic(err)
	}
	b := make([]byte, 1<<16)
	for {
		n, err := conn.Read(b)
		if err != nil || n == 0 {
			fmt.Println("end", err)
			return
		}
		fmt.Println(string(b[1:n]))
	}
}

func notifyAs(word, pidfile string) {
	f, err := os.OpenFile(pidfile+".fifo", os.O_WRONLY, 0)
	if err == nil {
		fmt.Fprintln(f, word)
		f.Close()
	}
}

// terminated has SIGTERM delivered from now on: it is called before READY is said.
func terminated() <-chan os.Signal {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM)
	return ch
}

func notify(s string) {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, s)
}

// serve answers lines on every inherited socket.
func serve() {
	term := terminated()
	n := 0
	for fd := 3; ; fd++ {
		if _, err := syscall.Getsockname(fd); err != nil {
			break
		}
		l, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
		if err != nil {
			break
		}
		n++
		go accept(l)
	}
	notify(fmt.Sprintf("STATUS=%d sockets\nREADY=1", n))
	<-term
}

func accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		fmt.Fprintln(conn, answer(strings.TrimSpace(line)))
		conn.Close()
	}
}

func answer(question string) string {
	switch question {
	case "pid":
		return fmt.Sprint(os.Getpid(), " ", os.Getenv("LISTEN_PID"), " ", os.Getppid())
	case "env":
		return strings.Join(os.Environ(), ",")
	case "cwd":
		dir, _ := os.Getwd()
		return dir
	case "id":
		groups, _ := os.Getgroups()
		return fmt.Sprint(os.Getuid(), os.Getgid(), groups)
	case "status":
		b, _ := os.ReadFile("/proc/self/status")
		return string(b)
	case "limits":
		b, _ := os.ReadFile("/proc/self/limits")
		return string(b)
	case "cgroup":
		b, _ := os.ReadFile("/proc/self/cgroup")
		return string(b)
	}
	return "?"
}
