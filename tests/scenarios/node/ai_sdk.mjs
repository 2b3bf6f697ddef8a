import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';

globalThis.AI_SDK_LOG_WARNINGS = false;
const provider = createOpenAICompatible({
    name: 'gateway', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const model = provider('fake-chat');
const maxRetries = 0;
const tools = {
    get_weather: tool({
        inputSchema: z.object({ city: z.string(), days: z.number().int() }),
        execute: async ({ city, days }) => `${city}:${days}`,
    }),
    get_time: tool({ inputSchema: z.object({ zone: z.string() }), execute: async ({ zone }) => zone }),
};
const Person = z.object({ name: z.string(), age: z.number().int(), tags: z.array(z.string()) });
const called = (calls) => calls.map((each) => [each.toolName, each.input]);

scenario('chat', async () => (await generateText({ model, prompt: 'Grüß Gott 👋', maxRetries })).text);

scenario('stream', async () => {
    const answer = streamText({ model: provider('split'), prompt: 'Grüß Gott 👋', maxRetries });
    let text = '';
    for await (const part of answer.textStream) text += part;
    return { text, total: (await answer.usage).totalTokens };
});

scenario('tools', async () => {
    const answer = await generateText({ model, prompt: askTools, tools, stopWhen: stepCountIs(3), maxRetries });
    return { calls: called(answer.steps[0].toolCalls), text: answer.text };
});

scenario('streamed tools', async () => {
    const answer = streamText({ model, prompt: askTools, tools, stopWhen: stepCountIs(3), maxRetries });
    await answer.consumeStream();
    return { calls: called((await answer.steps)[0].toolCalls), text: await answer.text };
});

scenario('structured output', async () =>
    (await generateObject({ model, schema: Person, prompt: askPerson, maxRetries })).object);

scenario('streamed structured output', async () => {
    const answer = streamObject({ model, schema: Person, prompt: askPerson, maxRetries });
    for await (const _ of answer.partialObjectStream);
    return await answer.object;
});

scenario('embeddings', async () => {
    const answer = await embedMany({
        model: provider.textEmbeddingModel('fake-embed'), values: ['eins', 'zwei'], maxRetries,
    });
    return answer.embeddings;
});

scenario('error', async () => {
    try {
        await generateText({ model: provider('error-429'), prompt: 'hi', maxRetries });
    } catch (error) {
        return { status: error.statusCode, retry: error.responseHeaders['retry-after'], message: error.message };
    }
    return null;
});

scenario('abort in the middle', async () => {
    const abort = new AbortController();
    const answer = streamText({
        model: provider('endless'), prompt: marker, abortSignal: abort.signal, maxRetries, onError: () => {},
    });
    let seen = 0;
    for await (const _ of answer.textStream) if (++seen === 2) break;
    abort.abort();
    return { stay: true, left: now() };
});

scenario('abort before the first token', async () => {
    const abort = new AbortController();
    process.on('SIGUSR2', () => abort.abort());
    try {
        await generateText({ model: provider('never'), prompt: marker, abortSignal: abort.signal, maxRetries });
    } catch (error) {
        return { stay: true, left: now(), kind: error.name };
    }
    return null;
});
