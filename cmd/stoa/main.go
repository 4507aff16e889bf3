// Command stoa runs AI workloads that are well architected, and proves it. See `stoa help`.
package main

import (
	"os"

	"github.com/stoaproject/stoa/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
