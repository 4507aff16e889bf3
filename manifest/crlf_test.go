package manifest

import (
	"bytes"
	"os"
	"reflect"
	"testing"
)

// A file saved by an editor on Windows means the same.
func TestLineEndsAndByteOrderMark(t *testing.T) {
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("w.yaml", full)
	if err != nil {
		t.Fatal(err)
	}
	for what, src := range map[string][]byte{
		"carriage returns": bytes.ReplaceAll(full, []byte("\n"), []byte("\r\n")),
		"byte order mark":  append([]byte("\xef\xbb\xbf"), full...),
	} {
		got, err := Parse("w.yaml", src)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s change the workload", what)
		}
	}
	_, err = Parse("w.yaml", []byte("name: a\r\nmodels: {m: {}}\r\nendpoints: {m: {}}\r\nriks: high\r\n"))
	if all := Errors(err); len(all) != 1 || all[0].Line != 4 || all[0].Column != 1 {
		t.Errorf("the place of an error: %v", err)
	}
}
