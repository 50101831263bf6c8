"""The `openai` package as it is, against a Spindle whose address stands in OPENAI_BASE_URL.

SPINDLE_TEST_MODEL names the model, SPINDLE_TEST_BUSY_URL a server with one place and a short queue.
"""

import asyncio
import os
import unittest

import openai
from openai import AsyncOpenAI, OpenAI

MODEL = os.environ["SPINDLE_TEST_MODEL"]
BUSY_URL = os.environ["SPINDLE_TEST_BUSY_URL"]
QUESTION = [{"role": "user", "content": "What is the opposite of hot?"}]
LONG = {"ignore_eos": True}


def client(**settings):
    return OpenAI(**{"max_retries": 0, "timeout": 60, **settings})


def chat(**fields):
    return client().chat.completions.create(**{"model": MODEL, "messages": QUESTION, "temperature": 0, **fields})


def text(**fields):
    fields = {"model": MODEL, "prompt": "Once upon a time", "temperature": 0, **fields}
    return client().completions.create(**fields)


class Chat(unittest.TestCase):
    def test_answer_and_usage(self):
        answer = chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer._request_id)

    def test_stream_joins_to_the_answer(self):
        chunks = list(chat(stream=True, stream_options={"include_usage": True}))
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        whole = chat()
        self.assertEqual(said, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_stream_helper_rebuilds_the_message(self):
        with client().chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.content, chat().choices[0].message.content)

    def test_closing_a_stream_early_leaves_the_client_usable(self):
        one = client()
        stream = one.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, max_tokens=200, extra_body=LONG
        )
        next(iter(stream))
        stream.close()
        self.assertTrue(one.models.list().data)

    def test_n_choices(self):
        answer = chat(n=3, temperature=1.2, seed=3)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])

    def test_seed_repeats(self):
        answers = [chat(temperature=1.5, seed=9, max_tokens=20).choices[0].message.content for _ in range(2)]
        self.assertEqual(*answers)

    def test_logprobs(self):
        content = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertTrue(content)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertEqual(token.top_logprobs[0].token, token.token)

    def test_stop(self):
        whole = chat(max_tokens=30).choices[0].message.content
        stop = whole[2:5]
        answer = chat(max_tokens=30, stop=[stop, "never said"])
        self.assertEqual(answer.choices[0].message.content, whole[: whole.index(stop)])
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_limit_of_length(self):
        for field in ["max_tokens", "max_completion_tokens"]:
            answer = chat(**{field: 2}, extra_body=LONG)
            self.assertEqual((answer.choices[0].finish_reason, answer.usage.completion_tokens), ("length", 2))

    def test_many_at_once_from_asyncio(self):
        async def ask():
            async with AsyncOpenAI(max_retries=0, timeout=60) as one:
                calls = [
                    one.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0) for _ in range(8)
                ]
                return await asyncio.gather(*calls)

        self.assertEqual(len({answer.choices[0].message.content for answer in asyncio.run(ask())}), 1)


class Completions(unittest.TestCase):
    def test_answer(self):
        answer = text()
        self.assertEqual(answer.object, "text_completion")
        self.assertTrue(answer.choices[0].text)
        self.assertTrue(text(echo=True).choices[0].text.startswith("Once upon a time"))

    def test_stream_joins_to_the_answer(self):
        said = "".join(chunk.choices[0].text for chunk in text(stream=True))
        self.assertEqual(said, text().choices[0].text)

    def test_prompts_and_choices(self):
        answer = text(prompt=["one", "two"], n=2, temperature=1)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])

    def test_logprobs(self):
        logprobs = text(logprobs=2, max_tokens=4).choices[0].logprobs
        lengths = {len(logprobs.tokens), len(logprobs.token_logprobs), len(logprobs.text_offset)}
        self.assertEqual(lengths, {len(logprobs.top_logprobs)})

    def test_token_ids(self):
        self.assertTrue(text(prompt=[5, 6, 7]).choices)


class Models(unittest.TestCase):
    def test_list_and_retrieve(self):
        models = list(client().models.list())
        self.assertEqual([model.id for model in models], [MODEL])
        self.assertEqual(client().models.retrieve(MODEL), models[0])


class Errors(unittest.TestCase):
    def check(self, error, status, code, call):
        with self.assertRaises(error) as raised:
            call()
        self.assertEqual((raised.exception.status_code, raised.exception.code), (status, code))
        self.assertTrue(raised.exception.request_id)
        return raised.exception

    def test_bad_request(self):
        error = self.check(
            openai.BadRequestError, 400, "decimal_above_max_value", lambda: chat(temperature=3)
        )
        self.assertEqual((error.param, error.type), ("temperature", "invalid_request_error"))

    def test_unsupported_parameter(self):
        tools = [{"type": "function", "function": {"name": "f"}}]
        error = self.check(openai.BadRequestError, 400, "unsupported_parameter", lambda: chat(tools=tools))
        self.assertEqual(error.param, "tools")

    def test_context_length(self):
        long = [{"role": "user", "content": "word " * 100_000}]
        self.check(openai.BadRequestError, 400, "context_length_exceeded", lambda: chat(messages=long))

    def test_unknown_model(self):
        self.check(openai.NotFoundError, 404, "model_not_found", lambda: chat(model="nothing"))
        self.check(openai.NotFoundError, 404, "model_not_found", lambda: client().models.retrieve("nothing"))

    def test_wrong_key(self):
        self.check(
            openai.AuthenticationError, 401, "invalid_api_key", lambda: client(api_key="wrong").models.list()
        )

    def test_unknown_route(self):
        self.check(openai.NotFoundError, 404, "unknown_url", lambda: client().files.list())

    def test_too_large(self):
        huge = [{"role": "user", "content": "x" * (10 << 20)}]
        self.check(openai.APIStatusError, 413, "request_too_large", lambda: chat(messages=huge))

    def test_error_of_a_stream_is_raised_before_it_begins(self):
        self.check(openai.BadRequestError, 400, "integer_below_min_value", lambda: chat(stream=True, n=0))

    def test_full_queue(self):
        busy = client(base_url=BUSY_URL)

        def fill():
            # Streams that nobody reads keep their places.
            return [
                busy.chat.completions.create(
                    model=MODEL, messages=QUESTION, stream=True, max_tokens=200, extra_body=LONG
                )
                for _ in range(100)
            ]

        error = self.check(openai.RateLimitError, 429, "rate_limit_exceeded", fill)
        self.assertGreaterEqual(int(error.response.headers["retry-after"]), 1)

    def test_retries_get_through_a_busy_moment(self):
        patient = client(base_url=BUSY_URL, max_retries=8)

        async def ask():
            async with AsyncOpenAI(base_url=BUSY_URL, max_retries=8, timeout=60) as one:
                calls = [
                    one.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=30) for _ in range(8)
                ]
                return await asyncio.gather(*calls)

        self.assertEqual(len(asyncio.run(ask())), 8)
        self.assertTrue(patient.models.list().data)

    def test_nobody_listens(self):
        with self.assertRaises(openai.APIConnectionError):
            client(base_url="http://127.0.0.1:9/v1").models.list()


if __name__ == "__main__":
    unittest.main()
