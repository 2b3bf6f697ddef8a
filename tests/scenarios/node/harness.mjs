// Shared by the client scripts: `scenario(name, run)` registers one, the last argument picks which runs.
// A scenario's result is printed as one JSON line; with `stay` in it the process stays until it is ended, so that
// what closed a connection was the client's leaving and not its end. Scripts are read from standard input.
const scenarios = {};
const scenario = (name, run) => { scenarios[name] = run; };
const { BASE_URL: baseURL, API_KEY: apiKey, MARKER: marker } = process.env;
// Seconds on the clock of Python's time.monotonic().
const now = () => Number(process.hrtime.bigint()) / 1e9;
const weather = {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer' } },
    required: ['city', 'days'],
    additionalProperties: false,
};
const clock = {
    type: 'object',
    properties: { zone: { type: 'string' } },
    required: ['zone'],
    additionalProperties: false,
};
const askTools = 'get_weather city=Zürich days=3 and get_time zone=Europe/Zurich please';
const askPerson = 'name=Ada age=36 tags=math';
const say = (content) => [{ role: 'user', content }];
setImmediate(async () => {
    const result = await scenarios[process.argv.at(-1)]();
    process.stdout.write(JSON.stringify(result) + '\n');
    if (result?.stay) setInterval(() => {}, 1000);
    else process.exit(0);
});
