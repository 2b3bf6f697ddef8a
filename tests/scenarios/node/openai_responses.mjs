import OpenAI from 'openai';

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30000 });
const model = 'fake-chat';
const tools = [
    { type: 'function', strict: true, name: 'get_weather', parameters: weather },
    { type: 'function', strict: true, name: 'get_time', parameters: clock },
];

scenario('text and what follows', async () => {
    const first = await client.responses.create({ model, input: 'Grüß Gott 👋', instructions: 'Be brief.' });
    const second = await client.responses.create({ model, input: 'And?', previous_response_id: first.id });
    const read = await client.responses.retrieve(second.id);
    const items = [];
    for await (const item of client.responses.inputItems.list(first.id)) items.push(item.content[0].text);
    await client.responses.delete(first.id);
    return { first: first.output_text, second: read.output_text, items };
});

scenario('stream', async () => {
    const stream = client.responses.stream({ model: 'split', input: 'Grüß Gott 👋' });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    const final = await stream.finalResponse();
    return { kinds: [kinds[0], kinds.at(-1)], text: final.output_text };
});

scenario('streamed tools', async () => {
    const ask = (input, previous_response_id) =>
        client.responses.stream({ model, input, tools, previous_response_id }).finalResponse();
    const first = await ask(askTools);
    const results = first.output.map(({ call_id, name }) => (
        { type: 'function_call_output', call_id, output: `result of ${name}` }
    ));
    const second = await ask(results, first.id);
    return { calls: first.output.map((call) => [call.name, JSON.parse(call.arguments)]), text: second.output_text };
});

scenario('background', async () => {
    let response = await client.responses.create({ model, input: 'Hi', background: true });
    while (['queued', 'in_progress'].includes(response.status)) {
        response = await client.responses.retrieve(response.id);
    }
    return { status: response.status, text: response.output_text };
});
