// Command stack starts and stops, for one checkout, the servers that tests use.
//
//	go run ./internal/devstack/stack up      starts them, until down; prints their URIs as shell variables
//	go run ./internal/devstack/stack down    stops them and removes their files
//	go run ./internal/devstack/stack sweep   like down, unless they were started by up
//	go run ./internal/devstack/stack forward ADDRESS   forwards their ports from another local address
package main

import (
	"fmt"
	"os"

	"github.com/afgen/afgen/internal/devstack"
)

func main() {
	command := ""
	if len(os.Args) >= 2 {
		command = os.Args[1]
	}
	if (len(os.Args) == 3) != (command == "forward") {
		command = ""
	}
	var err error
	switch command {
	case "up":
		var servers []*devstack.Server
		servers, err = devstack.Keep()
		for _, s := range servers {
			fmt.Printf("export %s='%s'\n", s.Kind.Variable(), s.URI)
		}
	case "down", "sweep":
		var stopped []devstack.Kind
		stopped, err = devstack.Down(command == "sweep")
		for _, k := range stopped {
			fmt.Fprintln(os.Stderr, "stopped", k)
		}
	case "forward":
		err = forward(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: stack up|down|sweep|forward ADDRESS")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}
