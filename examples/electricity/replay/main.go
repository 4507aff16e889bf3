// Command replay runs the electricity example: it starts `stoa up` on a fresh workload, trains version 1 on the first
// weeks of the market, then replays the remaining half-hours in order as live traffic, as fast as they go, with labels
// arriving one day late. Midway it makes the champion's target fail for a day. At the end it compares what Stoa's
// managed model predicted with three baselines: version 1 left alone, a model retrained every week on a fixed
// schedule, and the rule that repeats the last label known at the time.
//
// It is an ordinary client: everything it does goes through the stoa command and the HTTP interface. The market's clock
// stands still while Stoa works (a job that takes a second is not allowed to span a month of half-hours), because in
// the market a half-hour is longer than any of these jobs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/stoaproject/stoa/examples/electricity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

// options are the flags of the command.
type options struct {
	stoa   string
	dir    string
	listen string
	weeks  int
	days   int
	stay   bool
	plain  bool
	result string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("replay", flag.ContinueOnError)
	fs.StringVar(&o.stoa, "stoa", "bin/stoa", "the stoa binary")
	fs.StringVar(&o.dir, "dir", "", "directory to work in (default: a new one in the system's temporary directory)")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "address for stoa up")
	fs.IntVar(&o.weeks, "weeks", 4, "weeks of the market that version 1 is trained on")
	fs.IntVar(&o.days, "days", 0, "days to replay after that (default: all)")
	fs.BoolVar(&o.stay, "stay", false, "leave the server running at the end, until Ctrl-C")
	fs.BoolVar(&o.plain, "plain", false, "print lines instead of drawing on the terminal")
	fs.StringVar(&o.result, "result", "", "also write the result as JSON into this file")
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return o, err
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.stoa, err = filepath.Abs(o.stoa); err != nil {
		return err
	}
	rows, err := readMarket(electricity.Market)
	if err != nil {
		return err
	}
	first := o.weeks * 7 * perDay
	last := len(rows)
	if o.days > 0 {
		last = min(last, first+o.days*perDay)
	}
	if first < perDay || first >= last {
		return fmt.Errorf("--weeks %d leaves nothing to replay", o.weeks)
	}
	rows = rows[:last]

	if o.dir, err = prepare(o.dir, rows[:first]); err != nil {
		return err
	}
	v := newView(os.Stdout, o.plain, len(rows)-first)
	v.note("workload in %s", o.dir)
	srv, err := startServer(ctx, o.stoa, o.dir, o.listen)
	if err != nil {
		return err
	}
	defer srv.stop()
	v.note("stoa up at %s", srv.url)

	r := newReplay(srv, rows, first, v)
	res, err := r.run(ctx)
	if err != nil {
		return fmt.Errorf("%w\nthe server's log is %s", err, filepath.Join(o.dir, "stoa.log"))
	}
	v.finish()
	res.print(os.Stdout)
	if o.result != "" {
		raw, err := json.MarshalIndent(res, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.result, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	printNext(os.Stdout, srv, o)
	if o.stay {
		select {
		case <-ctx.Done():
		case <-srv.done:
			return fmt.Errorf("stoa up ended: %w", srv.end)
		}
	}
	return nil
}

// prepare lays out the workload directory: the workload file and the labelled feed with the first weeks.
func prepare(dir string, known []row) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "stoa-electricity-")
	} else {
		if dir, err = filepath.Abs(dir); err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if _, statErr := os.Stat(filepath.Join(dir, ".stoa")); err == nil && statErr == nil {
			err = fmt.Errorf("%s holds an earlier run: remove it or give another --dir", dir)
		}
	}
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "workload.yaml"), electricity.Workload, 0o644); err != nil {
		return "", err
	}
	return dir, writeFeed(filepath.Join(dir, "data", "feed.csv"), known)
}
