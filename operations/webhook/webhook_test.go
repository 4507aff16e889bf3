package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/sqlite"
)

// A house is a database with a ledger and webhooks that nothing runs yet.
type house struct {
	t   *testing.T
	db  *store.DB
	led *ledger.Ledger
	log *strings.Builder
	*Hooks
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, log: &strings.Builder{}}
	lg := slog.New(slog.NewTextHandler(h.log, nil))
	var err error
	if h.db, err = sqlite.Memory(t.Context(), lg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.db.Close() })
	if h.led, err = ledger.New(t.Context(), h.db, lg); err != nil {
		t.Fatal(err)
	}
	h.Hooks = h.open()
	return h
}

// open gives webhooks as a new process finds them.
func (h *house) open() *Hooks {
	h.t.Helper()
	hooks, err := open(h.t.Context(), Config{
		DB: h.db, Ledger: h.led, Logger: slog.New(slog.NewTextHandler(h.log, nil)),
		Loopback: func() bool { return true },
		Describe: func(_ context.Context, model string, _ int) (About, error) {
			if strings.HasPrefix(model, "prompt") {
				return About{Tags: map[string]string{tagPrompt: "true", tagPromptText: "Hi", "k": "v"}}, nil
			}
			return About{Source: "runs:/1/m", Tags: map[string]string{"k": "v"}}, nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return hooks
}

func (h *house) happens(what, subject string, data any) {
	h.t.Helper()
	err := h.db.Write(h.t.Context(), func(tx *store.Tx) error {
		return h.led.Note(h.t.Context(), tx, ledger.Act{Actor: "ann", What: what, Subject: subject, Data: data})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) pending() int {
	h.t.Helper()
	var n int
	err := h.db.Read(h.t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(h.t.Context(), "SELECT COUNT(*) FROM webhook_deliveries").Scan(&n)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func (h *house) create(url string, names ...string) Webhook {
	h.t.Helper()
	req := &CreateRequest{Name: "ci", URL: url, Secret: "s3cret"}
	for _, n := range names {
		req.Events = append(req.Events, eventOf(n))
	}
	r, err := h.Create(h.t.Context(), boss, req)
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Webhook
}

var boss = stoa.Caller{ID: "1", Name: "owner", Owner: true}

// A got is a request that a receiver got.
type got struct {
	header http.Header
	body   string
}

func receiver(t *testing.T, status int) (string, chan got) {
	t.Helper()
	all := make(chan got, 32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all <- got{r.Header, string(body)}
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.URL, all
}

// verify checks a signature as mlflow's documentation does.
func verify(t *testing.T, g got, secret string) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(g.header.Get("X-MLflow-Delivery-Id") + "." + g.header.Get("X-MLflow-Timestamp") + "." + g.body))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); g.header.Get("X-MLflow-Signature") != want {
		t.Errorf("signature %q, want %q", g.header.Get("X-MLflow-Signature"), want)
	}
}

func TestDeliversWhatHappens(t *testing.T) {
	h := newHouse(t)
	h.happens("model.create", "early", nil)
	url, all := receiver(t, http.StatusOK)
	h.create(url, "registered_model.created", "model_version.created", "model_version_alias.created",
		"model_version_alias.deleted", "prompt_version.created")
	h.happens("model.create", "iris", nil)
	h.happens("version.register", "iris", map[string]int{"version": 2})
	h.happens("alias.move", "iris", map[string]any{"alias": "champion", "to": 2, "previous": 1})
	h.happens("alias.move", "iris", map[string]any{"alias": "blue", "to": 0})
	h.happens("version.register", "prompt", map[string]int{"version": 1})
	h.begin(t.Context())
	for _, want := range []string{
		`"registered_model","action":"created" {"description":"","name":"iris","tags":{"k":"v"}}`,
		`"model_version","action":"created" {"description":null,"name":"iris","run_id":null,"source":"runs:/1/m",` +
			`"tags":{"k":"v"},"version":"2"}`,
		`"model_version_alias","action":"created" {"alias":"champion","name":"iris","version":"2"}`,
		`"model_version_alias","action":"created" {"alias":"previous","name":"iris","version":"1"}`,
		`"model_version_alias","action":"deleted" {"alias":"blue","name":"iris"}`,
		`"prompt_version","action":"created" {"description":null,"name":"prompt","tags":{"k":"v"},"template":"Hi","version":"1"}`,
	} {
		g := <-all
		verify(t, g, "s3cret")
		var m struct {
			Entity, Action, Timestamp string
			Data                      json.RawMessage
		}
		if err := json.Unmarshal([]byte(g.body), &m); err != nil {
			t.Fatal(err)
		}
		if seen := `"` + m.Entity + `","action":"` + m.Action + `" ` + string(m.Data); seen != want {
			t.Errorf("got  %s\nwant %s", seen, want)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(h.log.String(), "s3cret") {
		t.Error("the secret is in the log")
	}
}

func TestCrashLosesAndRepeatsNothing(t *testing.T) {
	h := newHouse(t)
	url, all := receiver(t, http.StatusOK)
	h.create(url, "registered_model.created")
	h.happens("model.create", "one", nil)
	if err := h.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.happens("model.create", "two", nil)
	h.Hooks = h.open() // the process died
	for range 2 {
		if err := h.follow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.pending(); n != 2 {
		t.Fatalf("%d deliveries, want 2", n)
	}
	h.begin(t.Context())
	for _, name := range []string{"one", "two"} {
		if g := <-all; !strings.Contains(g.body, `"name":"`+name+`"`) {
			t.Errorf("got %s, want %s", g.body, name)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// roundTrip is a receiver without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWaitsLongerAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.config.Every = 5 * time.Second
		hook := h.create("http://localhost/x?token=hidden", "registered_model.created")
		var at []time.Time
		ids := map[string]bool{}
		h.plain.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			at, ids[r.Header.Get("X-MLflow-Delivery-Id")] = append(at, time.Now()), true
			return nil, errors.New("down")
		})
		time.Sleep(time.Millisecond)
		h.happens("model.create", "iris", nil)
		h.begin(t.Context())
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(at) != maxAttempts || len(ids) != 1 || h.pending() != 0 {
			t.Fatalf("%d attempts with %d ids, %d pending", len(at), len(ids), h.pending())
		}
		for i := 1; i < len(at); i++ {
			full := min(firstWait<<(i-1), longestWait)
			if gap := at[i].Sub(at[i-1]); gap < full/2 || gap > full+2*h.config.Every {
				t.Errorf("attempt %d came after %v, want %v to %v", i+1, gap, full/2, full)
			}
		}
		events, err := h.led.Events(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		last := events[len(events)-1]
		if last.What != "webhook.give_up" || !strings.Contains(string(last.Data), hook.ID) {
			t.Errorf("the ledger ends with %+v", last)
		}
		for _, e := range events {
			if strings.Contains(string(e.Data)+e.Why, "hidden") || strings.Contains(string(e.Data), "s3cret") {
				t.Errorf("the ledger gives away %+v", e)
			}
		}
		if strings.Contains(h.log.String(), "hidden") {
			t.Error("the log gives away the address")
		}
	})
}

func TestSendsToPublicAddressesOnly(t *testing.T) {
	list := reserved()
	for _, text := range []string{
		"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
		"255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
		"::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "2001::1", "::7f00:1", "fec0::1",
	} {
		if public(netip.MustParseAddr(text), list) {
			t.Errorf("%s passes", text)
		}
	}
	for _, text := range []string{"8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"} {
		if !public(netip.MustParseAddr(text), list) {
			t.Errorf("%s does not pass", text)
		}
	}
}

// A name that leads to this machine is found out when it is connected to.
func TestChecksTheAddressThatIsConnectedTo(t *testing.T) {
	h := newHouse(t)
	url, all := receiver(t, http.StatusOK)
	hook := h.create(strings.Replace(url, "127.0.0.1", "localhost", 1), "registered_model.created")
	h.config.Loopback = func() bool { return false }
	r, err := h.Test(t.Context(), boss, &TestRequest{ID: hook.ID})
	if err != nil || r.Result.Success || !strings.Contains(r.Result.Error, errBlocked.Error()) || len(all) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestRefuses(t *testing.T) {
	h := newHouse(t)
	one := []Event{{"MODEL_VERSION", "CREATED"}}
	for name, c := range map[string]struct {
		caller stoa.Caller
		req    CreateRequest
		want   stoa.Reason
	}{
		"guest":    {stoa.Caller{ID: "2"}, CreateRequest{Name: "a", URL: "https://e.org", Events: one}, stoa.ReasonForbidden},
		"http":     {boss, CreateRequest{Name: "a", URL: "http://e.org", Events: one}, stoa.ReasonInvalid},
		"metadata": {boss, CreateRequest{Name: "a", URL: "https://169.254.169.254/", Events: one}, stoa.ReasonInvalid},
		"file":     {boss, CreateRequest{Name: "a", URL: "file:///etc/passwd", Events: one}, stoa.ReasonInvalid},
		"user":     {boss, CreateRequest{Name: "a", URL: "https://a:b@e.org", Events: one}, stoa.ReasonInvalid},
		"name":     {boss, CreateRequest{Name: "A", URL: "https://e.org", Events: one}, stoa.ReasonInvalid},
		"none":     {boss, CreateRequest{Name: "a", URL: "https://e.org"}, stoa.ReasonInvalid},
		"unsent": {boss, CreateRequest{Name: "a", URL: "https://e.org", Events: []Event{{"MODEL_VERSION_TAG", "SET"}}},
			stoa.ReasonInvalid},
	} {
		_, err := h.Create(t.Context(), c.caller, &c.req)
		var refusal *stoa.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTestListUpdateDelete(t *testing.T) {
	h := newHouse(t)
	url, all := receiver(t, http.StatusFound)
	hook := h.create(url, "model_version.created", "model_version.created")
	r, err := h.Test(t.Context(), boss, &TestRequest{ID: hook.ID, Event: &Event{"PROMPT", "CREATED"}})
	if err != nil || r.Result.Success || r.Result.Status != http.StatusFound || len(all) != 1 {
		t.Fatalf("%+v %v, %d requests", r, err, len(all))
	}
	verify(t, <-all, "s3cret")
	h.happens("version.register", "iris", map[string]int{"version": 1})
	if err := h.follow(t.Context()); err != nil || h.pending() != 1 {
		t.Fatal(err, h.pending())
	}
	off := statusDisabled
	u, err := h.Update(t.Context(), boss, &UpdateRequest{ID: hook.ID, Status: &off})
	if err != nil || u.Webhook.Status != off || u.Webhook.URL != url || h.pending() != 0 {
		t.Fatalf("%+v %v", u, err)
	}
	h.create(url, "prompt.created")
	one := int64(1)
	first, err := h.List(t.Context(), boss, &ListRequest{MaxResults: &one})
	if err != nil || len(first.Webhooks) != 1 || first.NextPageToken == "" {
		t.Fatalf("%+v %v", first, err)
	}
	shown, _ := json.Marshal(first)
	if strings.Contains(string(shown), "s3cret") {
		t.Error("the secret is shown")
	}
	if _, err := h.Delete(t.Context(), boss, &IDRequest{ID: hook.ID}); err != nil {
		t.Fatal(err)
	}
	var refusal *stoa.Refusal
	if _, err := h.Get(t.Context(), boss, &IDRequest{ID: hook.ID}); !errors.As(err, &refusal) ||
		refusal.Reason != stoa.ReasonNotFound {
		t.Error(err)
	}
}
