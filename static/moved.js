// What the original's scripts are now. A browser may still have one of its
// pages in a cache, and that page asks for them: it is replaced by the present
// page. A classic script, since the old pages load it as one.
(() => {
  const page = location.pathname === "/static/taskProducer.html" ? location.pathname : "/";
  const tried = Number(sessionStorage.getItem("moved"));
  if (Date.now() - tried < 10_000) return; // the old page came again: it would for ever
  sessionStorage.setItem("moved", Date.now());
  fetch(page, { cache: "reload" }).then(
    (answer) => answer.ok && location.replace(page + location.search),
    () => {}, // the service can't be reached: the old page stays
  );
})();
