export const palette = {
  kinds: { page: "page", action: "action", service: "service", node: "node", key: "key" },
  actions: {
    intention: "New intention",
    tryIntention: "May one service call another?",
    key: "New key",
    preparedQuery: "New prepared query",
    snapshot: "Take a snapshot",
    failing: "Services that are failing",
  },
};
