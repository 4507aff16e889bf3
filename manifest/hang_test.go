package manifest
import ("testing";"os";"time")
func FuzzHang(f *testing.F) {
	full, _ := os.ReadFile("testdata/full.yaml")
	f.Add(full); f.Add([]byte(minimal)); f.Add(Template("a")); f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	f.Add([]byte("? [a, {b: c}]\n: |\n  x\n- - - y\n"))
	f.Fuzz(func(t *testing.T, s []byte) {
		tm := time.AfterFunc(4*time.Second, func() { os.WriteFile("/tmp/hang.yaml", s, 0o644); panic("hang") })
		Parse("x", s)
		tm.Stop()
	})
}
