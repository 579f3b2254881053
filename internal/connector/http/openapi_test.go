package http

import (
	"fmt"
	"strings"
	"testing"
)

const shopDocument = `
openapi: 3.0.3
info: {title: shop, version: "1"}
paths:
  /customers/{email}:
    parameters: [{name: email, in: path, required: true, schema: {type: string}}]
    get:
      operationId: getCustomer
      parameters: [{name: verbose, in: query, schema: {type: boolean}}, {name: phone, in: query, schema: {type: string}}, {name: X-A, in: header, schema: {type: string}}]
      responses:
        "200": {description: ok, content: {application/json: {schema: {$ref: "#/components/schemas/Customer"}}}}
        default: {description: no, content: {application/json: {schema: {type: object, properties: {about: {type: string, x-gatehouse-label: secret}}}}}}
  /customers:
    get:
      operationId: listCustomers
      responses:
        "200": {description: ok, content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Customer"}}}}}
components:
  schemas:
    Contact: {type: object, properties: {phone: {type: string, x-gatehouse-label: [pii.phone]}}}
    Customer:
      allOf: [{$ref: "#/components/schemas/Contact"}]
      type: object
      properties:
        id: {type: integer}
        email: {type: string, x-gatehouse-label: pii.email}
        friends: {type: array, items: {$ref: "#/components/schemas/Customer"}}
`

func TestDocument(t *testing.T) {
	doc, err := parseDocument([]byte(shopDocument))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, p := range doc {
		fmt.Fprintf(&got, "%s %s %s query %v reveal %v\n", p.Methods[0], p.Path, p.id, p.Query, p.Reveal)
		for _, f := range sortedKeys(p.Labels) {
			fmt.Fprintf(&got, "  %s %v\n", f, p.Labels[f])
		}
	}
	want := `GET /customers listCustomers query [] reveal map[]
  $[*]['email'] [pii.email]
  $[*]['friends'][*]..['email'] [pii.email]
  $[*]['friends'][*]..['phone'] [pii.phone]
  $[*]['phone'] [pii.phone]
GET /customers/{email} getCustomer query [verbose] reveal map[email:$['email'] phone:$['phone']]
  $['about'] [secret]
  $['email'] [pii.email]
  $['friends'][*]..['email'] [pii.email]
  $['friends'][*]..['phone'] [pii.phone]
  $['phone'] [pii.phone]
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	for _, bad := range []string{"", "{}", "openapi: 2.0", "swagger: '2.0'", strings.Replace(shopDocument, "pii.email", "7", 1), strings.Replace(shopDocument, `"#/components/schemas/Contact"`, `"other.yaml#/x"`, 1)} {
		if _, err := parseDocument([]byte(bad)); err == nil {
			t.Errorf("a bad document is taken: %.60q", bad)
		}
	}
}
