package experiment

import (
	"encoding/json"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of the wire, in characters unless said otherwise.
const (
	maxBatchMetrics       = 1000 // rows
	maxBatchParams        = 100  // rows, as many tags
	maxBatchEntities      = 1000 // rows in all
	maxKey                = 250
	maxParamValue         = 6000
	maxTagValue           = 8000
	maxExperimentName     = 500
	maxExperimentTagValue = 20000
	maxDatasetName        = 500
	maxDatasetDigest      = 36
	maxDatasetSchema      = 1<<20 - 1
	maxDatasetSource      = 1<<16 - 1
	maxDatasetProfile     = 1<<24 - 1
	maxInputTagKey        = 255
	maxInputTagValue      = 500
	maxLocation           = 2048
)

const (
	badCharacters = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.)," +
		" spaces ( ), colon(:) and slashes (/)."
	seeDocs = " See the API docs for more information about request parameters."
)

var (
	namePattern  = regexp.MustCompile(`^[/\p{L}\p{N}_.\- :]*$`)
	runIDPattern = regexp.MustCompile(`^[a-zA-Z0-9][\p{L}\p{N}_\-]{0,255}$`)
)

// invalidValue is upstream's message for a value that a parameter does not take.
func invalidValue(parameter string, value any, why string) error {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte("null")
	}
	if why != "" {
		return invalid("Invalid value %s for parameter '%s' supplied: %s", text, parameter, why)
	}
	return invalid("Invalid value %s for parameter '%s' supplied.", text, parameter)
}

// required refuses an empty value of a required parameter.
func required(parameter, value string) error {
	if value == "" {
		return missing(parameter)
	}
	return nil
}

// missing is the refusal of a request without a required parameter.
func missing(parameter string) error {
	return invalid("Missing value for required parameter '%s'.%s", parameter, seeDocs)
}

// tooLong refuses a value of more than limit characters.
func tooLong(name string, limit int, value string) error {
	if len(value) > limit && utf8.RuneCountInString(value) > limit {
		return invalid("'%s' exceeds the maximum length of %d characters", name, limit)
	}
	return nil
}

// checkName refuses the key of a metric, a param or a tag that is not a name.
func checkName(parameter, name string) error {
	if !namePattern.MatchString(name) {
		return invalidValue(parameter, name, badCharacters)
	}
	// A leading double slash stays one in upstream's normal form, and both are refused for being absolute.
	normal := path.Clean(name)
	if normal != name || normal == "." || strings.HasPrefix(normal, "..") || strings.HasPrefix(normal, "/") {
		return invalidValue(parameter, name, "Names may be treated as files in certain cases, and must not resolve to"+
			" other names when treated as such. This name would resolve to '"+normal+"'")
	}
	return nil
}

// checkMetric refuses a metric that is not one. where is its place in the request, "" or "metrics[3]".
func checkMetric(where string, m *Metric) error {
	if err := checkName(member(where, "name"), m.Key); err != nil {
		return err
	}
	if m.Value == nil {
		return missing(member(where, "value"))
	}
	if m.Timestamp == nil {
		return missing(member(where, "timestamp"))
	}
	if *m.Timestamp < 0 {
		return invalidValue(member(where, "timestamp"), *m.Timestamp, "metric '"+m.Key+"' (value="+
			formatFloat(float64(*m.Value))+"). Timestamp must be a nonnegative long (64-bit integer) ")
	}
	return tooLong("Metric name", maxKey, m.Key)
}

// checkParam refuses a param that is not one.
func checkParam(where string, p Param) error {
	if err := checkName(member(where, "key"), p.Key); err != nil {
		return err
	}
	if err := tooLong("Param key", maxKey, p.Key); err != nil {
		return err
	}
	return tooLong("Param value", maxParamValue, p.Value)
}

// checkTag refuses a tag of a run that is not one.
func checkTag(where string, tag Tag) error {
	if err := checkName(member(where, "key"), tag.Key); err != nil {
		return err
	}
	if err := tooLong(member(where, "key"), maxKey, tag.Key); err != nil {
		return err
	}
	return tooLong(member(where, "value"), maxTagValue, tag.Value)
}

// checkExperimentTag refuses a tag of an experiment that is not one.
func checkExperimentTag(tag Tag) error {
	if err := checkName("key", tag.Key); err != nil {
		return err
	}
	if err := tooLong("key", maxKey, tag.Key); err != nil {
		return err
	}
	return tooLong("value", maxExperimentTagValue, tag.Value)
}

// checkExperimentName refuses a name that no experiment can have.
func checkExperimentName(name string) error {
	if name == "" {
		return invalid("Invalid experiment name: '%s'", name)
	}
	return tooLong("name", maxExperimentName, name)
}

// checkRunID refuses what cannot be the id of a run.
func checkRunID(id string) error {
	if !runIDPattern.MatchString(id) {
		return invalidValue("run_id", id, "")
	}
	return nil
}

// member names a field of the element at where.
func member(where, field string) string {
	if where == "" {
		return field
	}
	return where + "." + field
}

// formatFloat writes a float as upstream's messages do.
func formatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64), "+"))
	case f == math.Trunc(f) && math.Abs(f) < 1e16:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
