// Package electricity carries the files of the electricity example, so that the replay needs no path to them.
package electricity

import _ "embed" // for the files below

// Market is the market's half-hours, compressed: see DATA.md.
//
//go:embed elec.csv.gz
var Market []byte

// Workload is the workload file that the replay runs.
//
//go:embed workload.yaml
var Workload []byte
