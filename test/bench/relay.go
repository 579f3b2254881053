package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// aside is another process before the database.
type aside struct {
	dsn  string
	pid  int
	stop func()
}

// startRelay starts a relay before a database, as a process of its own.
func startRelay(dir, direct string, sync bool) (*aside, error) {
	u, err := url.Parse(direct)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "relay", dir, u.Host, strconv.FormatBool(sync))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() { cmd.Process.Kill(); cmd.Wait() }
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return nil, fmt.Errorf("the relay did not start: %w", err)
	}
	u.Host = strings.TrimSpace(address)
	return &aside{u.String(), cmd.Process.Pid, stop}, nil
}

// relay is the least that can stand in a data path: it copies bytes between clients and a target, and with sync
// it appends and syncs to the folder's disk before every message of a client. What it adds is what a gateway in Go
// cannot do without on the machine that measures. It prints its address.
func relay(dir, target string, sync bool) error {
	disk, err := newDisk(dir)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		client, err := l.Accept()
		if err != nil {
			return err
		}
		go pass(client, target, disk, sync)
	}
}

// pass copies both ways. The connections' own ReadFrom is hidden: splice(2) would keep the bytes in the kernel,
// where a gateway cannot read them.
func pass(client net.Conn, target string, disk *disk, sync bool) {
	defer client.Close()
	database, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer database.Close()
	go func() {
		io.Copy(struct{ io.Writer }{client}, struct{ io.Reader }{database})
		client.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if n > 0 && sync {
			_, failed := disk.sync()
			err = errors.Join(err, failed)
		}
		if err != nil {
			return
		}
		if _, err := database.Write(b[:n]); err != nil {
			return
		}
	}
}
