package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tour walks through what a newcomer should see. Every step is a command that can be pasted into another
// terminal, run as it is printed, and looked at: a step that did not behave fails the tour.
type tour struct {
	out io.Writer
	env string // the file that sets up a terminal: `. FILE`
	dir string // where the commands run
	// raw are values that must not appear in anything that comes back, in lower case.
	raw []string
	// unchecked is set where nothing is known of what should come back.
	unchecked bool
	number    int
	total     int
	failed    []string
}

// step is one thing to see.
type step struct {
	title   string
	command string
	// fails says that the command must be refused.
	fails bool
	// want must appear in what came back.
	want []string
}

const stepTime = 60 * time.Second

var (
	approvalID = regexp.MustCompile(`\bap-[a-z0-9]+\b`)
	sessionID  = regexp.MustCompile(`\bs-[a-z0-9]+\b`)
)

// shown are the steps before the one that a person must approve.
var shown = []step{
	{
		title:   "An agent reads customers. Labelled columns come back masked; a mask that does not fit a type (the date) shows nothing.",
		command: `psql -c "SELECT id, name, email, national_id, phone, birth_date FROM customers ORDER BY id LIMIT 3"`,
		want:    []string{"@***", "(3 rows)"},
	},
	{
		title:   "An alias or an expression does not help: the mask sits where the table is read.",
		command: `psql -c "SELECT upper(c.email) AS contact, reverse(c.national_id) AS x, md5(c.phone) AS y, c.profile->>'email' AS z FROM customers c WHERE c.email LIKE '%@%' ORDER BY c.id LIMIT 3"`,
		want:    []string{"(3 rows)"},
	},
	{
		title:   "Honest work is not disturbed.",
		command: `psql -c "SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY status"`,
		want:    []string{"status", "paid"},
	},
	{
		title:   "A hallucinated DROP TABLE is refused, with the reason and what to do next.",
		command: `psql -c "DROP TABLE customers"`,
		fails:   true,
		want:    []string{"forbidden", "HINT:"},
	},
	{
		title:   "Why was it refused? Every policy that was considered, and what would be needed; nothing runs.",
		command: `gatehouse policy explain --principal shop-agent --group ai-agents --connection shop --sql "DROP TABLE customers"`,
		want:    []string{"forbid agents-never-drop", "what it would need"},
	},
	{
		title:   "And who could see e-mail addresses? Everyone whom policies, configuration and recordings name is asked.",
		command: `gatehouse policy who-can read shop/public.customers.email`,
		want:    []string{"agents in ai-agents", "masked"},
	},
	{
		title:   "An HTTP API: the agent's token goes in, the gateway's own credential goes on, labelled fields come back masked.",
		command: `curl -sS --fail-with-body -H "$AGENT" "$SHOP_API/customers/2"`,
		want:    []string{`"email":"j***@***.invalid"`, `"city":"Amiens"`},
	},
	{
		title:   "Asking by a labelled value is refused, as a problem that an agent can act on.",
		command: `curl -sS --fail-with-body -H "$AGENT" "$SHOP_API/customers?email=j%40shop.example"`,
		fails:   true,
		want:    []string{`"code":"policy_denied"`, "reveal field shop-api/customers#$..email"},
	},
	{
		title:   "A gRPC service: the same, by its descriptors. grpcurl does it too; curl sends the five bytes of a frame and a message, customer 2.",
		command: `printf '\000\000\000\000\002\010\002' | curl -sS --fail -H "$AGENT" -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- "$SHOP_RPC/shop.v1.Customers/Get" | tr -cd '[:print:]'`,
		want:    []string{"j***@***.invalid", "Amiens"},
	},
}

const update = `psql -c "UPDATE orders SET status = 'refunded' WHERE id = %d"`

// run walks the whole tour. Its error names the steps that did not behave.
func (t *tour) run(ctx context.Context) error {
	t.total = len(shown) + 6
	fmt.Fprintf(t.out, "\nEach step is a command. To paste them into a terminal of your own, first run there:\n\n    $ . %s\n", t.env)
	for _, s := range shown {
		t.show(ctx, s)
	}
	t.approve(ctx)
	id := t.replay(ctx)
	t.signed(ctx, id)
	t.show(ctx, step{
		title:   "The recordings prove that nothing was changed or left out, without the server.",
		command: `gatehouse sessions verify`,
	})
	if id != "" {
		bundle := id + ".ghb"
		t.show(ctx, step{
			title:   "One session as a file that proves itself: with the gateway's public key anybody can verify it, anywhere.",
			command: "gatehouse sessions export " + id + " -o " + bundle + " && gatehouse sessions key > gateway.pub && gatehouse sessions verify --key gateway.pub " + bundle,
			want:    []string{bundle},
		})
	}
	if len(t.failed) > 0 {
		return fmt.Errorf("%d of %d steps did not behave: %s", len(t.failed), t.number, strings.Join(t.failed, "; "))
	}
	return ctx.Err()
}

func (t *tour) head(title, command string) {
	t.number++
	fmt.Fprintf(t.out, "\n%d/%d  %s\n\n    $ %s\n", t.number, t.total, title, command)
}

// show runs a step and prints what came back.
func (t *tour) show(ctx context.Context, s step) string {
	t.head(s.title, s.command)
	output, err := t.command(ctx, s.command)
	t.print(output)
	t.check(s, output, err)
	return output
}

func (t *tour) check(s step, output string, err error) {
	var exit *exec.ExitError
	switch {
	case s.fails && err == nil:
		t.fail("it was not refused")
	case err != nil && !(s.fails && errors.As(err, &exit)):
		t.fail(fmt.Sprintf("it failed: %v", err))
	}
	for _, want := range s.want {
		if !strings.Contains(output, want) {
			t.fail(fmt.Sprintf("%q did not come back", want))
		}
	}
	for _, raw := range t.raw {
		if strings.Contains(strings.ToLower(output), raw) {
			t.fail("a raw value came back")
			return
		}
	}
}

func (t *tour) fail(why string) {
	if t.unchecked {
		return
	}
	t.failed = append(t.failed, fmt.Sprintf("step %d: %s", t.number, why))
	fmt.Fprintf(t.out, "    !! %s\n", why)
}

func (t *tour) print(output string) {
	for line := range strings.Lines(strings.TrimRight(output, "\n")) {
		fmt.Fprint(t.out, "    ", line)
	}
	fmt.Fprintln(t.out)
}

func (t *tour) command(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	out, err := t.shell(ctx, command).CombinedOutput()
	return string(out), err
}

// shell is the command as a terminal would run it after `. env.sh`.
func (t *tour) shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", ". '"+t.env+"'; "+command)
	cmd.Dir = t.dir
	// A group of its own, so that what the shell started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// approve lets an UPDATE wait, approves it as a person would, and sees it run.
func (t *tour) approve(ctx context.Context) {
	command := fmt.Sprintf(update, 42)
	t.head("A write waits until a person has approved it.", command+" &")
	held, err := t.hold(ctx, command)
	if err != nil {
		t.fail(err.Error())
		return
	}
	defer held.stop()
	t.print(held.output.String())
	t.show(ctx, step{
		title:   "The person who is asked sees exactly what will run, and approves it.",
		command: fmt.Sprintf("gatehouse approvals show %s && gatehouse approvals approve %s --reason 'the customer called'", held.id, held.id),
		want:    []string{"UPDATE"},
	})
	select {
	case <-held.done:
	case <-time.After(stepTime):
		t.fail("the approved statement did not end")
		return
	}
	output := held.output.String()
	fmt.Fprintf(t.out, "    (psql goes on)\n")
	t.print(output[strings.LastIndex(strings.TrimRight(output, "\n"), "\n")+1:])
	t.check(step{want: []string{"UPDATE 1"}}, output, held.err)
}

// held is a psql that waits for a person.
type held struct {
	id     string
	output *buffer
	done   chan struct{}
	err    error // after done
	stop   context.CancelFunc
}

// hold starts a command in the background and waits until it says that it waits.
func (t *tour) hold(ctx context.Context, command string) (*held, error) {
	ctx, cancel := context.WithCancel(ctx)
	h := &held{output: &buffer{grown: make(chan struct{}, 1)}, done: make(chan struct{}), stop: cancel}
	cmd := t.shell(ctx, command)
	cmd.Stdout, cmd.Stderr = h.output, h.output
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		h.err = cmd.Wait()
		close(h.done)
	}()
	late := time.After(stepTime)
	for {
		if h.id = approvalID.FindString(h.output.String()); h.id != "" && strings.Contains(h.output.String(), "HINT:") {
			return h, nil
		}
		select {
		case <-h.output.grown:
		case <-h.done:
			cancel()
			return nil, fmt.Errorf("it did not wait for an approval: %s", strings.TrimSpace(h.output.String()))
		case <-late:
			cancel()
			return nil, errors.New("it did not say that it waits for an approval")
		}
	}
}

// buffer is a bytes.Buffer that tells when it has grown.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return n, err
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// replay shows the session of the write as the agent saw it, and gives its id; "" where there is none.
func (t *tour) replay(ctx context.Context) string {
	list := t.show(ctx, step{
		title:   "Every session was recorded.",
		command: `gatehouse sessions list --limit 8`,
		want:    []string{"s-"},
	})
	id := sessionID.FindString(list)
	if id == "" {
		t.fail("no session to replay")
		return ""
	}
	t.show(ctx, step{
		title:   "A replay shows what was asked, what was decided and by whom, and what came back.",
		command: "gatehouse sessions replay " + id,
		want:    []string{"UPDATE"},
	})
	return id
}

// signed waits until the gateway has signed a head behind a session, which it does every 10 seconds.
func (t *tour) signed(ctx context.Context, id string) {
	if id == "" {
		return
	}
	fmt.Fprintf(t.out, "\n    (the gateway signs what was recorded every 10 seconds: one moment)\n")
	for late := time.Now().Add(stepTime); time.Now().Before(late); {
		if said, err := t.command(ctx, "gatehouse sessions export "+id+" -o - > /dev/null"); err != nil || !strings.Contains(said, "no signed head") {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// leave starts a write that nobody approves yet: the person in front of the screen can.
func (t *tour) leave(ctx context.Context) (*held, error) {
	h, err := t.hold(ctx, fmt.Sprintf(update, 43))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(t.out, `
Now you. An agent waits for an answer; in another terminal:

    $ . %s
    $ gatehouse approvals list
    $ gatehouse approvals approve %s      # or: deny

Anything else that an agent may try:

    $ psql          # \d shows customers, orders, payments, products
`, t.env, h.id)
	return h, nil
}
