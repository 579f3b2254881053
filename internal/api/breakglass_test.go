package api_test

import (
	"testing"
	"time"

	"gatehouse/internal/approval"
	"gatehouse/internal/breakglass"
)

func TestBreakGlass(t *testing.T) {
	ctx := t.Context()
	c := newControl(t, false, map[string]string{"a.cedar": owned + `
@id("glass") @breakglass("second,1h") permit (principal in Group::"owners", action == Action::"breakglass", resource);
`})
	ask := breakglass.Ask{Connection: "orders", Reason: "stuck", For: 10 * time.Minute}
	_, err := c.as("x").BreakGlass(ctx, ask)
	c.wrong(err, "No policy lets you break the glass")
	_, err = c.as("ada").BreakGlass(ctx, breakglass.Ask{Connection: "orders"})
	c.wrong(err, "needs a reason")
	_, err = c.as("ada").BreakGlass(ctx, breakglass.Ask{Connection: "orders", Reason: "r", For: 25 * time.Hour})
	c.wrong(err, "seconds")
	w, err := c.as("ada").BreakGlass(ctx, ask)
	if err != nil || w.State != "open" || w.Review.Group != "second" {
		t.Fatalf("%+v %v", w, err)
	}
	if list, err := c.as("x").Windows(ctx, "", 0); err != nil || len(list) != 0 {
		t.Errorf("a stranger sees %+v %v", list, err)
	}
	_, err = c.as("x").Window(ctx, w.ID)
	c.wrong(err, "There is no window")
	_, err = c.as("x").RevokeWindow(ctx, w.ID, "")
	c.wrong(err, "There is no window")
	_, err = c.as("cyd").ReviewWindow(ctx, w.ID, "fine")
	c.wrong(err, "still open", "gatehouse access revoke")
	if list, err := c.as("cyd").Approvals(ctx, "open", 0); err != nil || len(list) != 1 || list[0].ID != w.ID || list[0].Kind != "break-glass" {
		t.Errorf("%+v %v", list, err)
	}
	if r, err := c.as("cyd").RevokeWindow(ctx, w.ID, "enough"); err != nil || r.State != "ended" || r.EndedHow != "revoked" || r.EndedBy.Name != "cyd" || r.EndedFor != "enough" {
		t.Fatalf("%+v %v", r, err)
	}
	_, err = c.as("ada").RevokeWindow(ctx, w.ID, "")
	c.wrong(err, "not open any more")
	if list, err := c.as("cyd").Approvals(ctx, "awaiting-review", 0); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	if all, err := c.as("ada").Approvals(ctx, "", 0); err != nil || len(all) != 1 || all[0].State != breakglass.AwaitingReview {
		t.Errorf("%+v %v", all, err)
	}
	if v, err := c.as("cyd").Approval(ctx, w.ID); err != nil || v.State != breakglass.AwaitingReview {
		t.Errorf("%+v %v", v, err)
	}
	_, err = c.as("cyd").Answer(ctx, w.ID, approval.Said{Approve: true, Reason: ""})
	c.wrong(err, "id") // a window is not approved
	_, err = c.as("ada").ReviewWindow(ctx, w.ID, "fine")
	c.wrong(err, "nobody reviews what they did themselves")
	if r, err := c.as("bob").ReviewWindow(ctx, w.ID, "fine"); err != nil || r.State != "reviewed" || r.ReviewedBy.Name != "bob" || r.Finding != "fine" {
		t.Fatalf("%+v %v", r, err)
	}
	_, err = c.as("cyd").ReviewWindow(ctx, w.ID, "fine")
	c.wrong(err, "reviewed already")
}
