package mlflow_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// onlyNew are the scenarios of what version 2 of the client does not have, or of packages that its environment lacks.
var onlyNew = []string{"autolog_lightgbm", "autolog_xgboost", "servable", "traces", "logged_models", "protection"}

// TestScenarios runs what data scientists do with the stock client. Each scenario is a script that fails by an
// assertion; they share one server, as the people of a team do.
func TestScenarios(t *testing.T) {
	scripts, err := filepath.Glob("scenarios/*.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"3", "2"} {
		t.Run("mlflow "+version, func(t *testing.T) {
			interpreter := python(t, version)
			stoa := startStoa(t)
			for _, script := range scripts {
				name := strings.TrimSuffix(filepath.Base(script), ".py")
				if name == "client" || version == "2" && slices.Contains(onlyNew, name) {
					continue
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					key := []string{"MLFLOW_TRACKING_TOKEN=" + stoa.key}
					if version == "2" { // the other form in which the client can send a key
						key = []string{"MLFLOW_TRACKING_USERNAME=anybody", "MLFLOW_TRACKING_PASSWORD=" + stoa.key}
					}
					runScript(t, interpreter, script, append(key, "MLFLOW_TRACKING_URI="+stoa.url))
				})
			}
		})
	}
}

// runScript runs a script with an environment that says where the server is, and the key.
func runScript(t *testing.T, python, script string, environment []string) {
	t.Helper()
	script, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), environment...),
		"MLFLOW_HTTP_REQUEST_MAX_RETRIES=1", // a failure is told at once
		"MLFLOW_DISABLE_TELEMETRY=true", "GIT_PYTHON_REFRESH=quiet", "OMP_NUM_THREADS=1", "MPLBACKEND=Agg",
		"PYTHONDONTWRITEBYTECODE=1",
	)
	if !testing.Short() {
		cmd.Env = append(cmd.Env, "STOA_TEST_LONG=1")
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := out.Bytes()
		t.Errorf("%s: %v\n%s", filepath.Base(script), err, text[max(0, len(text)-6<<10):])
	}
}
