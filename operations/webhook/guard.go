package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/stoaproject/stoa"
)

// errBlocked says that an address is not one that a webhook may reach.
var errBlocked = errors.New("the address is not public")

// reserved are the networks that are global in form but not the public internet, or that a provider of machines answers
// on itself. They follow IANA's registries of special-purpose addresses.
func reserved() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's host, which hands out credentials
		netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
	}
}

// public reports whether an address is one of the public internet. An IPv6 address that carries an IPv4 address is what
// it carries.
func public(addr netip.Addr, reserved []netip.Prefix) bool {
	addr = carried(addr.WithZone("").Unmap())
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	if addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// carried is the IPv4 address within an address of 6to4 (RFC 3056) or NAT64 (RFC 6052).
func carried(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16]))
	}
	return addr
}

// newClient makes a client that follows no redirect, uses no proxy, and checks the address of each connection when the
// name has been resolved and before anything is sent: a name that resolves otherwise the second time gains nothing.
func newClient(timeout time.Duration, allowed func(netip.Addr) bool) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !allowed(to.Addr()) {
			return fmt.Errorf("%s: %w", address, errBlocked)
		}
		return nil
	}}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: timeout,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// checkURL refuses an address that no delivery could be sent to. Names are looked up when a delivery is sent, not here.
func (h *Hooks) checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || len(text) > maxURL {
		return invalid("Invalid webhook URL: give https://HOST[:PORT]/PATH, without a user, in at most 2000 characters.")
	}
	local := u.Hostname() == "localhost"
	addr, literal := netip.ParseAddr(u.Hostname())
	if literal == nil {
		local = addr.Unmap().IsLoopback()
	}
	local = local && h.config.Loopback()
	switch {
	case u.Scheme == "http" && !local:
		return &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: "Invalid webhook URL scheme: 'http'. Allowed schemes are: https.",
			Hint: "http is for receivers on this machine, where security.webhooks.loopback allows them",
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return invalid(fmt.Sprintf("Invalid webhook URL scheme: %.40q. Allowed schemes are: https.", u.Scheme))
	case literal == nil && !local && !public(addr, h.reserved):
		return invalid("Webhook URL must not resolve to a non-public IP address.")
	}
	return nil
}
