import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30000 });
const tools = [
    { type: 'function', function: { name: 'get_weather', parameters: weather } },
    { type: 'function', function: { name: 'get_time', parameters: clock } },
];
const Person = z.object({ name: z.string(), age: z.number().int(), tags: z.array(z.string()) });
const called = (message) => message.tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]);

scenario('chat', async () => {
    const answer = await client.chat.completions.create({ model: 'fake-chat', messages: say('Grüß Gott 👋') });
    return answer.choices[0].message.content;
});

scenario('stream', async () => {
    const stream = await client.chat.completions.create({
        model: 'split', messages: say('Grüß Gott 👋'), stream: true, stream_options: { include_usage: true },
    });
    let text = '', usage = null;
    for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? '';
        usage = chunk.usage ?? usage;
    }
    return { text, total: usage.total_tokens };
});

scenario('tools', async () => {
    const answer = await client.chat.completions.create({ model: 'fake-chat', messages: say(askTools), tools });
    return called(answer.choices[0].message);
});

scenario('streamed tools', async () => {
    const stream = client.chat.completions.stream({ model: 'fake-chat', messages: say(askTools), tools });
    return called((await stream.finalChatCompletion()).choices[0].message);
});

scenario('structured output', async () => {
    const answer = await client.chat.completions.parse({
        model: 'fake-chat', messages: say(askPerson), response_format: zodResponseFormat(Person, 'person'),
    });
    return answer.choices[0].message.parsed;
});

scenario('embeddings', async () => {
    const answer = await client.embeddings.create({ model: 'fake-embed', input: ['eins', 'zwei'] });
    return answer.data.map((each) => each.embedding);
});

scenario('models', async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return names;
});

scenario('error', async () => {
    try {
        await client.chat.completions.create({ model: 'error-429', messages: say('hi') });
    } catch (error) {
        return { kind: error.constructor.name, code: error.code, retry: error.headers.get('retry-after') };
    }
    return null;
});

scenario('abort in the middle', async () => {
    const stream = await client.chat.completions.create({ model: 'endless', messages: say(marker), stream: true });
    let seen = 0;
    for await (const _ of stream) if (++seen === 5) break;
    return { stay: true, left: now() };
});

scenario('abort before the first token', async () => {
    const abort = new AbortController();
    process.on('SIGUSR2', () => abort.abort());
    try {
        await client.chat.completions.create(
            { model: 'never', messages: say(marker), stream: true }, { signal: abort.signal });
    } catch (error) {
        return { stay: true, left: now(), kind: error.constructor.name };
    }
    return null;
});
