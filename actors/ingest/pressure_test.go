package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/framedb/framedb/client/ingest"
	"github.com/framedb/framedb/client/wire"
)

// subscribed waits until the service hears messages on the bed's cluster.
func (b *bed) subscribed() {
	b.t.Helper()
	b.eventually("messages are heard", func() error {
		if n, err := b.rdb().PubSubNumPat(b.t.Context()).Result(); err != nil || n == 0 {
			return fmt.Errorf("%d subscriptions, %v", n, err)
		}
		return nil
	})
}

func (b *bed) say(message string) {
	b.t.Helper()
	if err := b.rdb().Publish(b.t.Context(), wire.RoutingChannel(source), message).Err(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) paused(want bool) {
	b.t.Helper()
	b.eventually(fmt.Sprint("paused is ", want), func() error {
		if b.service.pressure.paused(source, "rack-1") != want {
			return errors.New("it is not")
		}
		return nil
	})
}

func TestBackPressureIsObeyed(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	b.take(master, frame(source, 0))
	b.subscribed()
	n := 1
	for on, off := range map[string]string{
		`{"command":"bp_on","payload":{"nodeTag":"rack-1","cluster_name":"c1"}}`: `{"command":"bp_off","payload":{"nodeTag":"rack-1"}}`,
		`{"command":"bp_source_on","payload":{"sourceId":"cam-1"}}`:              `{"command":"bp_source_off","payload":{"sourceId":"cam-1"}}`,
	} {
		b.say(on)
		b.paused(true)
		for range 3 {
			if r := b.take(master, frame(source, n))[0]; r.Level != durable {
				t.Errorf("%s: %+v", on, r)
			}
			if b.has(frame(source, n), "1") == nil {
				t.Errorf("%s: frame %d was written", on, n)
			}
			n++
		}
		b.say(off)
		b.paused(false)
		b.idle()
		for i := range n {
			if err := b.has(frame(source, i), "1"); err != nil {
				t.Error(err)
			}
		}
	}
	// Neither another tag, nor another agent, nor nonsense.
	for _, m := range []string{
		`{"command":"bp_on","payload":{"nodeTag":"rack-2"}}`, `{"command":"bp_on","payload":{"nodeTag":"rack-1","agent":"n2"}}`,
		`{"command":"bp_on","payload":[]}`, `{"command":"bp_on"}`, `nonsense`, `{"command":"bp_maybe","payload":{"nodeTag":"rack-1"}}`,
	} {
		b.say(m)
	}
	b.say(`{"command":"bp_on","payload":{"nodeTag":"end"}}`)
	b.eventually("all were heard", func() error {
		if !b.service.pressure.paused(source, "end") {
			return errors.New("not yet")
		}
		return nil
	})
	b.paused(false)
	if r := b.take(master, frame(source, n))[0]; r.Level != master {
		t.Errorf("%+v", r)
	}
}

func TestBackPressureWithoutASpoolRefuses(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(c *Config) { c.SpoolDir = "" })
	b.take(master, frame(source, 0))
	b.subscribed()
	b.say(`{"command":"bp_source_on","payload":{}}`)
	b.paused(true)
	r, err := b.service.Ingest(t.Context(), source, []ingest.Frame{frame(source, 1)}, Options{})
	if err != nil || !errors.Is(r[0].Error, wire.ErrOverloaded) || r[0].Error.RetryAfter <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestBackPressureIsSent(t *testing.T) {
	t.Parallel()
	b, other := newBed(t, nil), newBed(t, nil)
	b.routes.set(source, Settings{}, b.target("rack-1"), other.target("rack-2"))
	sub := other.rdb().Subscribe(t.Context(), wire.RoutingChannel(source))
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.redis.Servers[0].Kill()
	b.take(master, frame(source, 1))
	hear := func(command wire.RoutingCommand) {
		t.Helper()
		for {
			m, err := sub.ReceiveTimeout(t.Context(), 20*time.Second)
			if err != nil {
				t.Fatalf("no %s: %v", command, err)
			}
			text, _ := json.Marshal(m)
			var msg struct{ Payload string }
			var got struct {
				Command wire.RoutingCommand
				Payload map[string]string
			}
			if json.Unmarshal(text, &msg) != nil || json.Unmarshal([]byte(msg.Payload), &got) != nil {
				t.Fatalf("%s", text)
			}
			if got.Payload["nodeTag"] != "rack-1" || got.Payload["agent"] == "" {
				t.Errorf("%s", text)
			}
			if got.Command == command {
				return
			}
		}
	}
	hear(bpOn)
	b.redis.Servers[0].Restart()
	hear(bpOff)
	b.idle()
}
