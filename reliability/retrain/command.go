package retrain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stoaproject/stoa"
)

// command runs the training command and returns the end of its output.
func (t *Trainer) command(ctx context.Context, job Job, dir string, places *strings.Replacer) (string, error) {
	scratch := filepath.Join(dir, "tmp")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return "", fmt.Errorf("scratch directory of job %d: %w", job.ID, err)
	}
	args := make([]string, len(job.Command))
	for i, arg := range job.Command {
		args[i] = places.Replace(arg)
	}
	if args[0] == "stoa" && t.config.Self != "" {
		args[0] = t.config.Self
	}
	run, cancel := context.WithTimeout(ctx, job.Timeout)
	defer cancel()
	out := &output{logger: t.config.Logger.With("job", job.ID, "model", job.Model)}
	cmd := exec.CommandContext(run, args[0], args[1:]...)
	cmd.Dir = t.config.Workload
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + scratch}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second // for a pipe that a grandchild outside the group holds open
	ownGroup(cmd)
	t.config.Logger.Info("retraining", "job", job.ID, "model", job.Model, "command", args)

	err := runLocked(cmd)
	out.end()
	tail := out.tail()
	switch {
	case err == nil:
		return tail, nil
	case ctx.Err() != nil:
		return tail, fmt.Errorf("training command of job %d: %w", job.ID, context.Cause(ctx))
	case run.Err() != nil:
		return tail, failed(fmt.Sprintf("the training command took longer than %s", job.Timeout),
			"raise the timeout of retraining, or train on fewer rows", err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		message := "the training command ended with " + exit.String()
		if line := lastLine(tail); line != "" {
			message += ": " + line
		}
		return tail, failed(message, "its output is in the log and in the ledger entry", err)
	}
	return tail, failed("the training command could not run: "+err.Error(), "is the program installed and on PATH?", err)
}

func failed(message, hint string, err error) error {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: message, Hint: hint, Err: err}
}

// runLocked starts a command and waits for it on one thread of the operating system: the kernel ends the command when
// the thread that started it ends, and a thread that is not locked may end at any time.
func runLocked(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	lowerPriority(cmd.Process.Pid)
	err := cmd.Wait()
	killGroup(cmd.Process.Pid) // what the command started and left behind
	return err
}

// output logs what a command writes line by line and keeps the end of it.
type output struct {
	logger *slog.Logger

	mu   sync.Mutex
	kept []byte // at most 2·tailSize
	line []byte // at most maxLine
}

// maxLine is how many bytes of one line are logged.
const maxLine = 2 << 10

// Write never fails: a command must not end because of its log.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[max(0, len(p)-tailSize):]...)
	if extra := len(o.kept) - tailSize; extra > tailSize {
		o.kept = append(o.kept[:0], o.kept[extra:]...)
	}
	rest := p
	for {
		before, after, found := bytes.Cut(rest, []byte("\n"))
		o.line = append(o.line, before[:min(len(before), maxLine-len(o.line))]...)
		if !found {
			return len(p), nil
		}
		o.log()
		rest = after
	}
}

// log writes the line at hand to the log. Progress bars end their lines with a carriage return; the last state counts.
func (o *output) log() {
	line := bytes.TrimRight(o.line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	if len(bytes.TrimSpace(line)) > 0 {
		o.logger.Info("training command", "line", strings.ToValidUTF8(string(line), "\uFFFD"))
	}
	o.line = o.line[:0]
}

// end logs a last line without an end.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log()
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.ToValidUTF8(string(o.kept[max(0, len(o.kept)-tailSize):]), "\uFFFD")
}

func lastLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return ""
	}
	last := strings.TrimSpace(lines[len(lines)-1])
	return last[:min(len(last), 300)]
}
