-- What a price may hold beside one figure a unit: prices of long prompts and of service tiers, as a list of
-- {unit, above, service_tier, usd}; and LiteLLM's price fields of which no bound follows for what a call costs.

ALTER TABLE model_prices ADD COLUMN tiers jsonb CHECK (jsonb_typeof(tiers) = 'array'),
    ADD COLUMN unusable text[],
    ADD COLUMN cache_write_1h numeric CHECK (cache_write_1h >= 0),
    ADD COLUMN audio_input    numeric CHECK (audio_input >= 0),
    ADD COLUMN audio_output   numeric CHECK (audio_output >= 0),
    ADD COLUMN web_search     numeric CHECK (web_search >= 0),
    ADD COLUMN file_search    numeric CHECK (file_search >= 0),
    ADD COLUMN code_session   numeric CHECK (code_session >= 0);

DO $$
BEGIN
    EXECUTE format('GRANT INSERT (tiers, unusable, cache_write_1h, audio_input, audio_output, web_search, file_search, '
        'code_session) ON model_prices TO %I', current_setting('litemaas.app_role'));
END $$;
