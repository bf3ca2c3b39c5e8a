// Drives one part of the registry with the npm client `consul`, as its users do: node drive.js PORT PART
"use strict";

const assert = require("node:assert/strict");
const Consul = require("consul");

const [port, part] = process.argv.slice(2);
const consul = new Consul({ host: "127.0.0.1", port: Number(port) });

/** Ask until the answer is as wanted: an agent tells the servers a moment later. */
async function eventually(probe) {
  for (const until = Date.now() + 15000; ; ) {
    const found = await probe();
    if (found || Date.now() > until) {
      assert.ok(found, `never: ${probe}`);
      return found;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function refused(status, promise) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.statusCode, status, error.message);
    return true;
  });
}

const PARTS = {
  async kv() {
    assert.equal(await consul.kv.get("npm/none"), undefined);
    assert.equal(await consul.kv.set("npm/a", "one"), true);
    const pair = await consul.kv.get("npm/a");
    assert.equal(pair.Value, "one");
    assert.ok(!(await consul.kv.set({ key: "npm/a", value: "x", cas: "1" })));
    const cas = String(pair.ModifyIndex);
    assert.equal(await consul.kv.set({ key: "npm/a", value: "two", cas, flags: 7 }), true);
    assert.equal((await consul.kv.get({ key: "npm/a", consistent: true })).Flags, 7);
    await consul.kv.set("npm/b/c", Buffer.from([0, 255]));
    assert.deepEqual(await consul.kv.get({ key: "npm/b/c", raw: true }), Buffer.from([0, 255]));
    assert.deepEqual(await consul.kv.keys({ key: "npm/", separator: "/" }), ["npm/a", "npm/b/"]);
    const found = await consul.kv.get({ key: "npm/", recurse: true });
    assert.deepEqual(found.map((one) => one.Key), ["npm/a", "npm/b/c"]);
    assert.equal(await consul.kv.del({ key: "npm/", recurse: true }), true);
    assert.equal(await consul.kv.get({ key: "npm/", recurse: true }), undefined);
  },

  async agent() {
    const self = await consul.agent.self();
    assert.equal(self.Config.NodeName, "dev");
    assert.deepEqual((await consul.agent.members()).map((one) => one.Name), ["dev"]);
    await consul.agent.service.register({
      id: "npm-agent-1",
      name: "npm-agent",
      tags: ["v1"],
      address: "10.0.0.1",
      port: 80,
      meta: { owner: "us" },
      checks: [{ name: "alive", ttl: "60s", notes: "says so itself" }],
    });
    const service = (await consul.agent.service.list())["npm-agent-1"];
    assert.deepEqual([service.Service, service.Port, service.Tags], ["npm-agent", 80, ["v1"]]);
    await consul.agent.check.pass({ id: "service:npm-agent-1", note: "well" });
    assert.equal((await consul.agent.check.list())["service:npm-agent-1"].Status, "passing");
    await consul.agent.check.warn("service:npm-agent-1");
    await consul.agent.check.fail("service:npm-agent-1");
    assert.equal((await consul.agent.checks())["service:npm-agent-1"].Status, "critical");
    await consul.agent.check.register({
      name: "npm-check", http: "http://127.0.0.1:1/", interval: "10s", timeout: "1s",
      serviceid: "npm-agent-1", status: "warning",
    });
    assert.ok((await consul.agent.checks())["npm-check"]);
    await consul.agent.check.deregister("npm-check");
    await consul.agent.service.maintenance({ id: "npm-agent-1", enable: true, reason: "rest" });
    assert.ok((await consul.agent.checks())["_service_maintenance:npm-agent-1"]);
    await consul.agent.service.maintenance({ id: "npm-agent-1", enable: false });
    await consul.agent.maintenance({ enable: true, reason: "rest" });
    assert.ok((await consul.agent.checks())["_node_maintenance"]);
    await consul.agent.maintenance(false);
    await consul.agent.reload();
    await consul.agent.service.deregister("npm-agent-1");
    assert.equal((await consul.agent.services())["npm-agent-1"], undefined);
    await refused(404, consul.agent.service.deregister("npm-agent-1"));
    await refused(404, consul.agent.check.pass("npm-none"));
    await refused(500, consul.agent.join("127.0.0.1:1"));
    await refused(500, consul.agent.forceLeave("npm-none"));
  },

  async catalog() {
    await consul.catalog.register({
      node: "npm-node", address: "10.1.0.1", nodemeta: { rack: "7" },
      service: { id: "npm-web-1", service: "npm-web", tags: ["v1"], port: 80 },
      check: { checkid: "npm-web-1", name: "up", status: "passing", serviceid: "npm-web-1" },
    });
    assert.deepEqual(await consul.catalog.datacenters(), ["dc1"]);
    const nodes = await consul.catalog.node.list({ "node-meta": "rack:7" });
    assert.ok(nodes.some((one) => one.Node === "npm-node"));
    assert.equal((await consul.catalog.node.services("npm-node")).Node.Address, "10.1.0.1");
    assert.deepEqual((await consul.catalog.service.list())["npm-web"], ["v1"]);
    const instances = await consul.catalog.service.nodes("npm-web");
    assert.equal(instances[0].ServicePort, 80);
    await consul.catalog.deregister({ node: "npm-node", serviceid: "npm-web-1" });
    assert.deepEqual(await consul.catalog.service.nodes("npm-web"), []);
    await consul.catalog.deregister("npm-node");
    assert.ok(!(await consul.catalog.node.list()).some((one) => one.Node === "npm-node"));
  },

  async health() {
    await consul.catalog.register({
      node: "npm-sick", address: "10.1.0.2",
      service: { id: "npm-sick-1", service: "npm-sick", tags: ["v1"], port: 80 },
      check: { checkid: "npm-sick-1", name: "up", status: "critical", serviceid: "npm-sick-1" },
    });
    assert.equal((await consul.health.service("npm-sick")).length, 1);
    assert.equal((await consul.health.service({ service: "npm-sick", tag: "v1" })).length, 1);
    assert.deepEqual(await consul.health.service({ service: "npm-sick", passing: true }), []);
    assert.equal((await consul.health.checks("npm-sick"))[0].Status, "critical");
    assert.equal((await consul.health.node("npm-sick")).length, 1);
    const critical = await consul.health.state("critical");
    assert.ok(critical.some((one) => one.CheckID === "npm-sick-1"));
    await consul.catalog.deregister("npm-sick");
  },

  async session() {
    const { ID } = await consul.session.create({
      name: "npm", ttl: "30s", lockdelay: "1s", behavior: "delete",
    });
    const session = await consul.session.info(ID);
    assert.deepEqual([session.Name, session.TTL, session.Behavior], ["npm", "30s", "delete"]);
    assert.ok((await consul.session.list()).some((one) => one.ID === ID));
    assert.ok((await consul.session.node("dev")).some((one) => one.ID === ID));
    assert.equal((await consul.session.renew(ID))[0].ID, ID);
    assert.equal(await consul.kv.set({ key: "npm-lock", value: "me", acquire: ID }), true);
    assert.equal((await consul.kv.get("npm-lock")).Session, ID);
    const other = await consul.session.create({ name: "other" });
    assert.ok(!(await consul.kv.set({ key: "npm-lock", value: "no", acquire: other.ID })));
    assert.equal(await consul.kv.set({ key: "npm-lock", value: "me", release: ID }), true);
    assert.equal(await consul.kv.set({ key: "npm-lock", value: "new", acquire: other.ID }), true);
    assert.equal((await consul.kv.get("npm-lock")).LockIndex, 2);
    await consul.kv.set({ key: "npm-mine", value: "me", acquire: ID });
    await consul.session.destroy(ID);
    assert.equal(await consul.kv.get("npm-mine"), undefined);
    await consul.session.destroy(other.ID);
    assert.equal((await consul.kv.get("npm-lock")).Session, undefined);
    assert.equal(await consul.session.info(ID), undefined);
  },

  async event() {
    const fired = await consul.event.fire({ name: "npm-deploy", payload: "53" });
    assert.equal(fired.Payload, "53");
    const heard = await eventually(async () =>
      (await consul.event.list("npm-deploy")).find((one) => one.ID === fired.ID));
    assert.equal(heard.Payload, "53");
  },

  async status() {
    const leader = await consul.status.leader();
    assert.deepEqual(await consul.status.peers(), [leader]);
  },

  async transaction() {
    const done = await consul.transaction.create([
      { KV: { Verb: "set", Key: "npm-txn/a", Value: Buffer.from("one").toString("base64") } },
      { KV: { Verb: "get", Key: "npm-txn/a" } },
    ]);
    assert.equal(done.Errors, null);
    assert.equal(Buffer.from(done.Results[1].KV.Value, "base64").toString(), "one");
    await refused(409, consul.transaction.create([
      { KV: { Verb: "set", Key: "npm-txn/b", Value: "" } },
      { KV: { Verb: "cas", Key: "npm-txn/a", Value: "", Index: 1 } },
    ]));
    assert.equal(await consul.kv.get("npm-txn/b"), undefined);
  },

  async query() {
    await consul.catalog.register({
      node: "npm-query", address: "10.1.0.3", service: { service: "npm-query", port: 80 },
    });
    const { ID } = await consul.query.create({
      name: "npm-query", service: { service: "npm-query", onlypassing: true }, dns: { ttl: "5s" },
    });
    assert.equal((await consul.query.get(ID)).DNS.TTL, "5s");
    assert.ok((await consul.query.list()).some((one) => one.ID === ID));
    await consul.query.update({ query: ID, name: "npm-query", service: "npm-query" })
      .catch(() => consul.query.update({
        query: ID, name: "npm-query", service: { service: "npm-query" },
      }));
    assert.equal((await consul.query.execute("npm-query")).Nodes[0].Node.Node, "npm-query");
    await consul.query.explain("npm-query"); // Of its answer the client gives nothing.
    await consul.query.destroy(ID);
    await refused(404, consul.query.execute(ID));
    await consul.catalog.deregister("npm-query");
  },

  async watch() {
    await consul.kv.set("npm-watch", "1");
    const watch = consul.watch({ method: consul.kv.get, options: { key: "npm-watch" } });
    const seen = [];
    await new Promise((resolve, reject) => {
      watch.on("error", reject);
      watch.on("change", (pair) => {
        seen.push(pair.Value);
        if (pair.Value === "3") resolve();
        else consul.kv.set("npm-watch", String(Number(pair.Value) + 1)).catch(reject);
      });
    });
    watch.end();
    assert.deepEqual(seen, ["1", "2", "3"]);
  },
};

if (part === undefined) {
  console.log(Object.keys(PARTS).join("\n"));
} else {
  PARTS[part]().then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
